"""Weights: found where they lie, fetched whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from asset_server import Server, nothing_but

from bids_app import assets
from bids_app.assets import AssetError

RECORD = {"dataset.json": {"channel_names": {"0": "MRI"}, "labels": {"background": 0, "brain": 1}}}
PLANS = {"configurations": {"3d_fullres": {}}}


def archive(top: str = "", without: str = "", **extra: bytes) -> bytes:
    """A zip of a model folder; `extra`: more members."""
    checkpoint = io.BytesIO()
    with zipfile.ZipFile(checkpoint, "w") as file:  # torch's own container is a zip file
        file.writestr("data.pkl", b"weights" * 1000)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as file:
        members = {
            "dataset.json": json.dumps(RECORD["dataset.json"]),
            "plans.json": json.dumps(PLANS),
            "fold_all/checkpoint_final.pth": checkpoint.getvalue(),
        }
        members |= {name: extra.pop(name).decode("latin-1") for name in set(members) & set(extra)}
        for name, member in members.items():
            if name != without:
                file.writestr(top + name, member)
        for name, member in extra.items():
            file.writestr(name, member)
    return content.getvalue()


#: Another network of nnU-Net's, with two structures.
TWO_LABELS = b'{"channel_names": {"0": "MRI"}, "labels": {"background": 0, "one": 1, "two": 2}}'


def publish(server: Server, content: bytes, *, md5: str | None = None) -> str:
    """Put an archive and the record that publishes its checksum on the server; its address."""
    entry = {
        "key": "release.zip",
        "size": len(content),
        "checksum": "md5:" + (md5 or hashlib.md5(content).hexdigest()),
    }
    record = {"files": [entry], "metadata": {"license": {"id": "cc-by-nc-4.0"}}}
    server.files = {
        "/api/records/7": json.dumps(record).encode(),
        "/records/7/files/release.zip": content,
    }
    return f"{server.url}/records/7/files/release.zip?download=1"


def test_home_is_where_the_environment_says_and_is_not_created(tmp_path: Path) -> None:
    assert assets.home({"BIDS_APP_HOME": str(tmp_path / "a"), "HOME": "/h"}) == tmp_path / "a"
    assert assets.home({"XDG_DATA_HOME": "/d", "HOME": "/h"}) == Path("/d/bids_app")
    assert assets.home({"HOME": "/h"}) == Path("/h/.local/share/bids_app")
    assert assets.home({}) == Path("/.local/share/bids_app")
    assert nothing_but(tmp_path) == []


def test_weights_are_found_in_the_order_given_fetched_hd_bets_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    home = tmp_path / "home"
    own = tmp_path / "user" / "hd-bet_params" / "release_2.0.0"
    assert assets.find_hd_bet_weights(None, home) is None
    assert assets.find_hd_bet_weights(tmp_path / "given", home) == tmp_path / "given"
    for folder in (own, home / "hd-bet"):
        (folder / "fold_all").mkdir(parents=True)
        (folder / "fold_all" / "checkpoint_final.pth").write_bytes(b"x")
        assert assets.find_hd_bet_weights(None, home) == folder


def test_the_address_is_hd_bets_own() -> None:
    from HD_BET.paths import ZENODO_DOWNLOAD_URL, folder_with_parameter_files

    assert assets.HD_BET_URL == ZENODO_DOWNLOAD_URL
    assert Path(folder_with_parameter_files).parts[-2:] == ("hd-bet_params", "release_2.0.0")


@pytest.mark.parametrize("top", ["", "release/"])
def test_weights_are_fetched_verified_and_shown_with_their_licence(server: Server, tmp_path: Path, top: str) -> None:
    content = archive(top)
    said: list[str] = []
    seen: list[tuple[int, int | None]] = []
    home = tmp_path / "home"

    folder = assets.fetch_hd_bet(
        home,
        accept_license=True,
        url=publish(server, content),
        progress=lambda done, total: seen.append((done, total)),
        say=said.append,
    )

    assert folder == home / "hd-bet"
    assert nothing_but(home) == ["hd-bet"]
    assert json.loads((folder / "plans.json").read_text()) == PLANS
    with zipfile.ZipFile(folder / "fold_all" / "checkpoint_final.pth") as checkpoint:
        assert checkpoint.read("data.pkl") == b"weights" * 1000
    assert seen[-1] == (len(content), len(content))
    assert "CC BY-NC 4.0" in said[0]
    assert "second-hand" in said[0]
    assert "cc-by-nc-4.0" in said[1]
    server.asked.clear()
    assert assets.fetch_hd_bet(home, accept_license=False, url=f"{server.url}/gone") == folder
    assert server.asked == []  # what is there and good is not fetched again


def test_a_licence_that_is_not_accepted_stops_before_the_network(server: Server, tmp_path: Path) -> None:
    with pytest.raises(AssetError, match=r"(?s)CC BY-NC 4\.0.*--accept-license") as caught:
        assets.fetch_hd_bet(tmp_path / "home", accept_license=False, url=publish(server, archive()))
    assert caught.value.code == 64
    assert server.asked == []
    assert not (tmp_path / "home").exists()


def test_a_pinned_sha256_counts_instead_of_the_published_checksum(server: Server, tmp_path: Path) -> None:
    content = archive()
    url = publish(server, content, md5="0" * 32)
    digest = hashlib.sha256(content).hexdigest()
    with pytest.raises(AssetError, match="sha256 checksum") as caught:
        assets.fetch_hd_bet(tmp_path, accept_license=True, url=url, sha256="1" * 64)
    assert caught.value.code == 75
    assert assets.fetch_hd_bet(tmp_path, accept_license=True, url=url, sha256=digest.upper()).is_dir()


@pytest.mark.parametrize(
    ("content", "changes", "code", "said"),
    [
        (archive(), {"md5": "0" * 32}, 75, "md5 checksum is .* 0{32} was expected"),
        (archive(), {"break_off_after": 300}, 75, "300 of .* bytes came"),
        (archive()[:300], {}, 75, "not a whole zip archive"),
        (archive(without="plans.json"), {}, 75, "no plans.json in it"),
        (b"<html>sign in</html>", {}, 75, "not a whole zip archive"),
        (archive(**{"dataset.json": TWO_LABELS}), {}, 75, "no usable weights: .*one image in and a brain mask out"),
        (archive(**{"plans.json": b'{"configurations": {}}'}), {}, 75, "no usable weights: .*no nnU-Net configuration"),
        (archive(**{"fold_all/checkpoint_final.pth": b"PK half a"}), {}, 75, "no usable weights: .*damaged or cut off"),
    ],
)
def test_a_bad_download_leaves_nothing(
    server: Server, tmp_path: Path, content: bytes, changes: dict, code: int, said: str
) -> None:
    url = publish(server, content, md5=changes.get("md5"))
    server.break_off_after = changes.get("break_off_after")
    with pytest.raises(AssetError, match=said) as caught:
        assets.fetch_hd_bet(tmp_path / "home", accept_license=True, url=url)
    assert caught.value.code == code
    assert nothing_but(tmp_path / "home") == []
    assert assets.find_hd_bet_weights(None, tmp_path / "home") is None


def test_members_that_point_out_of_the_archive_are_not_written(server: Server, tmp_path: Path) -> None:
    content = archive(top="../../release/", **{"../../evil": b"x", "/tmp/evil-of-bids-app-test": b"x"})
    folder = assets.fetch_hd_bet(tmp_path / "a" / "b" / "home", accept_license=True, url=publish(server, content))
    assert sorted(path.name for path in folder.iterdir()) == ["dataset.json", "fold_all", "plans.json"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "checkpoint_final.pth",
        "dataset.json",
        "plans.json",
    ]
    assert not Path("/tmp/evil-of-bids-app-test").exists()


def test_what_was_left_half_done_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "hd-bet").mkdir()
    (tmp_path / "hd-bet" / "dataset.json").write_text("{")
    folder = assets.fetch_hd_bet(tmp_path, accept_license=True, url=publish(server, archive()))
    assert nothing_but(tmp_path) == ["hd-bet"]
    assert json.loads((folder / "dataset.json").read_text()) == RECORD["dataset.json"]


def test_several_jobs_at_once_do_not_break_it(server: Server, tmp_path: Path) -> None:
    url = publish(server, archive())
    with ThreadPoolExecutor(6) as pool:
        jobs = [pool.submit(assets.fetch_hd_bet, tmp_path, accept_license=True, url=url) for _ in range(6)]
    assert {job.result() for job in jobs} == {tmp_path / "hd-bet"}
    assert nothing_but(tmp_path) == ["hd-bet"]


def test_no_network_no_file_no_checksum_and_no_room_have_their_codes(server: Server, tmp_path: Path) -> None:
    cases = {
        "http://127.0.0.1:9/records/7/files/release.zip": (75, "is there a network"),
        f"{server.url}/records/8/files/release.zip": (66, "404"),
        f"{server.url}/release.zip": (64, "sha256"),
        "release.zip": (64, "sha256"),
    }
    for url, (code, said) in cases.items():
        with pytest.raises(AssetError, match=said) as caught:
            assets.fetch_hd_bet(tmp_path / "home", accept_license=True, url=url)
        assert caught.value.code == code, url
    (tmp_path / "file").write_text("x")
    with pytest.raises(AssetError, match="BIDS_APP_HOME") as caught:
        assets.fetch_hd_bet(tmp_path / "file" / "home", accept_license=True, url=publish(server, archive()))
    assert caught.value.code == 73


def test_densenets_weights_are_checked_by_the_hash_in_their_name(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr("bids_app.assets.densenet.NAME", f"densenet121-{digest[:8]}.pth")
    server.files = {"/good": content, "/bad": b"others"}
    assert assets.find_densenet(None, tmp_path) is None
    with pytest.raises(assets.AssetError, match="checksum"):
        assets.fetch_densenet(tmp_path, url=f"{server.url}/bad")
    assert list(tmp_path.iterdir()) == []
    path = assets.fetch_densenet(tmp_path, url=f"{server.url}/good")
    assert path.read_bytes() == content
    assert assets.find_densenet(None, tmp_path) == path
    assert assets.find_densenet(tmp_path / "given", tmp_path) == tmp_path / "given"
    server.asked.clear()
    assert assets.fetch_densenet(tmp_path, url=f"{server.url}/gone") == path
    assert server.asked == []
