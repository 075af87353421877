"""Names of derivatives: a series' entities, plus those of a product, in the order that BIDS prescribes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

#: Order of the entities in a file name (BIDS 1.10, appendix "Entities"); those of transforms (`from`, `to`, `mode`,
#: BIDS extension proposal 14) stand where its drafts have them.
ENTITY_ORDER: tuple[str, ...] = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "trc", "stain", "rec", "dir", "run", "mod",
    "echo", "flip", "inv", "mt", "part", "proc", "hemi", "space", "split", "recording", "chunk", "from", "to", "mode",
    "seg", "res", "den", "label", "desc",
)  # fmt: skip


#: The folders of a session that derivatives lie in.
FOLDERS = ("anat", "dwi")


class _Places(dict[str, float]):
    """Where an entity stands in a name."""

    def __missing__(self, key: str) -> float:
        """An entity of a future BIDS is kept, too: behind the subject and session, before everything that we add."""
        return self["ses"] + 0.5


_PLACES = _Places({key: place for place, key in enumerate(ENTITY_ORDER)})


def file_name(
    entities: Iterable[tuple[str, str]], added: Mapping[str, str], suffix: str, extension: str, folder: str = "anat"
) -> PurePosixPath:
    """The path of a derivative below the dataset's root.

    Parameters
    ----------
    entities
        The source series' entities, short keys (`("sub", "01")`); all of them are kept.
    added
        The product's own entities; they win over the series' ones.
    folder
        One of `FOLDERS`.
    """
    merged = {**dict(entities), **added}
    ordered = sorted(merged, key=_PLACES.__getitem__)
    name = "_".join(f"{key}-{merged[key]}" for key in ordered) + f"_{suffix}{extension}"
    return PurePosixPath(f"{_folder(merged['sub'], merged.get('ses'))}/{folder}/{name}")


def session_folder(subject: str, session: str | None) -> PurePosixPath:
    """`sub-01` or `sub-01/ses-1`."""
    return PurePosixPath(_folder(subject, session))


def _folder(subject: str, session: str | None) -> str:
    return f"sub-{subject}/ses-{session}" if session else f"sub-{subject}"


def sidecar_of(name: PurePosixPath) -> PurePosixPath:
    """The JSON sidecar of a data file."""
    stem = name.name
    for extension in (".nii.gz", ".nii", ".tsv.gz", ".mat", ".h5", ".tsv"):
        if stem.endswith(extension):
            stem = stem[: -len(extension)]
            break
    return name.with_name(f"{stem}.json")
