# ruff: noqa: E501
"""What can be wrong with a dataset as a whole, with the files that steer a run, and with where its output goes.

One row each: the tree, the words of the command, the exit code, and what is said. `{root}`, `{out}` and `{place}` in the
words stand for the dataset, the output and the folder that both are in; `../` in a tree leads there, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bad_inputs.rows import GOOD, link, pipe, with_shape

T1W = {"sub-01/anat/sub-01_T1w.nii.gz": GOOD}
DESCRIPTION = "dataset_description.json"
AGES = ("--acceptance", "mr-rate")
WHOLE_HEAD = {"sub-01/anat/sub-01_T1w.nii.gz": with_shape(20, 22, 20, spacing=(10, 9, 9))}  # as MR-RATE wants it


@dataclass(frozen=True)
class Case:
    """A dataset or command that is wrong or odd; the command is a dry run unless `dry` is False."""

    what: str
    files: Mapping[str, Any]
    code: int
    says: str = ""
    words: Sequence[str] = ()
    described: bool = True
    root: str = "{root}"
    out: str = "{out}"
    level: str = "participant"
    dry: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


def described_by(what: str, content: Any, code: int, says: str = "") -> Case:
    """A case of dataset_description.json."""
    return Case(f"a description {what}", {**T1W, DESCRIPTION: content}, code, says, described=False)


def steered_by(option: str, name: str, what: str, content: Any, code: int, says: str) -> Case:
    """A case of a file that an option names."""
    files = {**T1W, **({f"../{name}": content} if content is not None else {})}
    return Case(f"{option} {what}", files, code, says, (option, "{place}/" + name))


FILTER, CONFIG, PLUGIN = "--bids-filter-file", "--config-file", "--nipype-plugin-file"
FOUND = "sub-01/anat/sub-01_T1w.nii.gz"

CASES = [
    Case("no such dataset", {}, 66, "no such folder; the first argument is the BIDS dataset", root="{place}/gone"),
    Case("a file as dataset", {"../file": "x"}, 66, "is not a folder", root="{place}/file"),
    Case("a dataset that is a broken link", {"../gone": link("nowhere")}, 66, "no such folder", root="{place}/gone"),
    Case("an empty folder", {}, 16, "no sub- folder", described=False),
    Case("no participant", {}, 16, "no sub- folder: it is not the root of a BIDS dataset, or holds no participant"),
    Case("a folder above the dataset", {"study/sub-01/anat/sub-01_T1w.nii.gz": GOOD}, 16, "give the folder that"),
    Case("a participant's folder", {**T1W, "sub-01/anat/x": "x"}, 16, "no sub- folder", root="{root}/sub-01"),
    Case("a file named like a participant", {"sub-01": "x"}, 16, "no sub- folder"),
    Case("participants without the prefix", {"Subject_01/anat/x.nii.gz": GOOD}, 16, "no sub- folder"),
    Case("one participant without the prefix", {**T1W, "sub02/anat/x.nii.gz": GOOD}, 0, "sub02 is not looked at"),
    Case("one participant with another sign in the label", {**T1W, "sub-b_d/anat/sub-b_d_T1w.nii.gz": GOOD, "sub-/anat/x.nii.gz": GOOD}, 0, "sub-b_d is not looked at"),
    Case("no image at all", {"sub-01/anat": None, "sub-02": None}, 18, "no structural image"),
    Case("no structural image", {"sub-01/func/sub-01_task-rest_bold.nii.gz": GOOD}, 18, "no structural image"),
    Case("nothing that is accepted", {"sub-01/anat/sub-01_T1map.nii.gz": GOOD}, 18, "a quantitative map"),
    Case("a derivative", {"sub-01/anat/sub-01_desc-preproc_T1w.nii.gz": GOOD}, 18, "'desc-' in its name"),
    Case("a path of no text", {**{f"../\udcff/{k}": v for k, v in T1W.items()}}, 16, "bytes that are no text", root="{place}/\udcff"),
    Case("a path with spaces and an umlaut", {f"../Köpfe 2/{k}": v for k, v in {**T1W, DESCRIPTION: {"Name": "x"}}.items()}, 0, FOUND, root="{place}/Köpfe 2"),
    Case("no description", T1W, 16, "no dataset_description.json", described=False),
    described_by("that is empty", b"", 16, "it is empty; it needs at least Name and BIDSVersion"),
    described_by("of no JSON", "{'Name': 'x'}", 16, "not valid JSON (line 1"),
    described_by("cut off", '{"Name": "a', 16, "not valid JSON"),
    described_by("of a list", [{"Name": "x"}], 16, "no JSON object"),
    described_by("not fetched", link(".git/annex/x"), 16, "datalad get"),
    described_by("that is a folder", None, 16, "it is not a file"),
    described_by("that is a pipe", pipe, 16, "it is not a file"),
    described_by("without a name", {"BIDSVersion": "1.10.0"}, 0, FOUND),
    described_by("with a number for a name", {"Name": 7}, 0, FOUND),
    described_by("with half a character", b'{"Name": "\\udc80", "BIDSVersion": "1.10.0"}', 0, FOUND),
    described_by("in UTF 16", '{"Name": "Köpfe"}'.encode("utf-16"), 0, FOUND),
    described_by("in Latin 1", '{"Name": "Köpfe"}'.encode("latin-1"), 0, FOUND),
    Case("an unknown participant", T1W, 18, "no such participant", ("--participant-label", "02")),
    Case("an unknown session", T1W, 18, "in session(s) 9", ("--session-label", "9")),
    Case("no participants.tsv", WHOLE_HEAD, 0, FOUND, AGES),
    Case("participants.tsv that is empty", {**WHOLE_HEAD, "participants.tsv": ""}, 0, FOUND, AGES),
    Case("participants.tsv of bytes", {**WHOLE_HEAD, "participants.tsv": bytes(range(256)) * 9}, 0, FOUND, AGES),
    Case("participants.tsv in UTF 16", {**WHOLE_HEAD, "participants.tsv": "participant_id\tage\nsub-01\t5".encode("utf-16")}, 18, "younger than 13", AGES),
    Case("participants.tsv of commas", {**WHOLE_HEAD, "participants.tsv": "participant_id,age\nsub-01,5"}, 0, FOUND, AGES),
    Case("participants.tsv of ragged rows", {**WHOLE_HEAD, "participants.tsv": "age\tparticipant_id\n5\n\n5\tsub-01\tx\ty"}, 18, "younger than 13", AGES),
    Case("participants.tsv of odd ages", {**WHOLE_HEAD, "participants.tsv": "participant_id\tage\nsub-01\t-\nsub-01\tn/a"}, 0, FOUND, AGES),
    Case("participants.tsv that is a folder", {**WHOLE_HEAD, "participants.tsv": None}, 0, FOUND, AGES),
    Case("participants.tsv that is a pipe", {**WHOLE_HEAD, "participants.tsv": pipe}, 0, FOUND, AGES),
    Case("participants.tsv with an endless cell", {**WHOLE_HEAD, "participants.tsv": "participant_id\tage\nsub-01\t" + "9" * 200_000}, 0, FOUND, AGES),
    Case(".bidsignore that names everything", {**T1W, ".bidsignore": "*\n"}, 18, "no structural image"),
    Case(".bidsignore of bytes", {**T1W, ".bidsignore": bytes(range(256))}, 0, FOUND),
    Case(".bidsignore that is a folder", {**T1W, ".bidsignore": None}, 0, FOUND),
    Case(".bidsignore that is a pipe", {**T1W, ".bidsignore": pipe}, 0, FOUND),
    Case("an output inside the dataset", T1W, 73, "which is never written to", out="{root}/derivatives/out"),
    Case("an output that is the dataset", T1W, 73, "which is never written to", out="{root}"),
    Case("an output that leads back into the dataset", {**T1W, "../back": link("data")}, 73, "never written to", out="{place}/back/out"),
    Case("an output that is a file", {**T1W, "../file": "x"}, 73, "is a file; give a folder", out="{place}/file"),
    Case("an output below a file", {**T1W, "../file": "x"}, 73, "cannot be written to: Not a directory", out="{place}/file/out", dry=False),
    Case("dataset and output swapped", {**T1W, "../raw/" + DESCRIPTION: {"Name": "x"}}, 73, "were the two folders swapped", out="{place}/raw"),
    Case("a work folder inside the dataset", T1W, 73, "must lie outside", ("-w", "{root}/work")),
    Case("a work folder below a file", {**T1W, "../file": "x"}, 73, "work folder", ("-w", "{place}/file/work"), dry=False),
    steered_by(FILTER, "f.json", "that is missing", None, 66, "cannot be read: No such file"),
    steered_by(FILTER, "f.json", "that is empty", b"", 64, "is not valid JSON"),
    steered_by(FILTER, "f.json", "of no JSON", "{t1w: {}}", 64, "line 1, column 2"),
    steered_by(FILTER, "f.json", "of bytes", b"\xff\xfe\x00\x81", 64, "is not valid JSON"),
    steered_by(FILTER, "f.json", "of a list", [], 64, "must hold an object of objects"),
    steered_by(FILTER, "f.json", "of texts", {"t1w": "x"}, 64, "must hold an object of objects"),
    steered_by(FILTER, "f.json", "of an unknown kind", {"T1": {}}, 64, "unknown kind(s) T1; known: t1w"),
    steered_by(FILTER, "f.json", "with a bad expression", {"t1w": {"acquisition": "(", "regex_search": True}}, 64, "no regular expression"),
    steered_by(FILTER, "f.json", "that matches nothing", {"t1w": {"run": 9}}, 18, "left out by the BIDS filter"),
    steered_by(FILTER, "f.json", "of odd values", {"t1w": {"run": [{}, None, [1], True]}}, 0, FOUND),
    steered_by(CONFIG, "c.toml", "that is missing", None, 66, "No such file"),
    steered_by(CONFIG, "c.toml", "of no TOML", "nprocs: 4", 64, "is no TOML"),
    steered_by(CONFIG, "c.toml", "of bytes", b"\xff\xfe\x00", 64, "is no TOML"),
    steered_by(CONFIG, "c.toml", "with an unknown option", "colour = 1", 64, "colour is no option"),
    steered_by(CONFIG, "c.toml", "with a wrong type", "nprocs = 'many'", 64, "must be a number"),
    steered_by(CONFIG, "c.toml", "with a wrong choice", "steps = ['dance']", 64, "choose from default, mask"),
    steered_by(PLUGIN, "p.yml", "that is missing", None, 66, "No such file"),
    steered_by(PLUGIN, "p.yml", "of no YAML", "plugin: [", 64, "is no YAML"),
    steered_by(PLUGIN, "p.yml", "without a plugin", "a: 1", 64, "it must name a plugin of Nipype"),
    Case("masks that are missing", T1W, 66, "no such folder", ("--masks", "{place}/gone")),
    Case("a database of garbage", {**T1W, "../db/layout_index.sqlite": "x", "../f.json": {"t1w": {}}}, 64, "no usable pybids database", (FILTER, "{place}/f.json", "--bids-database-dir", "{place}/db")),
    Case("a database below a file", {**T1W, "../file": "x", "../f.json": {"t1w": {}}}, 74, "cannot be written", (FILTER, "{place}/f.json", "--bids-database-dir", "{place}/file/db")),
    Case("an unknown atlas", T1W, 66, "", ("--output-spaces", "Talairach")),
    Case("an atlas of text", {**T1W, "../atlas.nii.gz": "x"}, 66, "atlas.nii.gz", ("--output-spaces", "{place}/atlas.nii.gz")),
    Case("no weights where they are asked for", T1W, 66, "bids_app fetch hd-bet", ("--brain-extraction", "hd-bet")),
    Case("an impossible shard", T1W, 64, "--shard 3/2", ("--shard", "3/2")),
    Case("a reference of no rule", T1W, 64, "neither auto, nor mr-rate, nor a filter", ("--reference", "best")),
    Case("a reference that no session has", T1W, 1, "matches no accepted series", ("--reference", "suffix=T2w")),
    Case("no memory", T1W, 64, "--mem-gb must be more than 0", ("--mem-gb", "0")),
    Case("memory that is no number", T1W, 64, "--mem-gb must be more than 0", ("--mem-gb", "nan")),
    Case("an unknown option", T1W, 2, "unrecognized arguments", ("--colour",)),
    Case("an unknown level", T1W, 2, "invalid choice", level="everybody"),
]  # fmt: skip
