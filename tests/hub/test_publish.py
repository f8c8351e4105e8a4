"""`publish` and the real client against the stand-in of the Hub: what it does and refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from huggingface_hub import constants, snapshot_download

from builder.checks.verify import verify
from builder.dataset.manifest import Manifest
from builder.errors import BuildError
from builder.hub.publish import plan_publication, publish
from builder.settings.publication import Publication
from builder.storage.files import exclusive
from builder.storage.remote import parse_location
from tests.conftest import World
from tests.hub.conftest import NAME, READER, TOKEN, contents
from tests.hub.server import Hub
from tests.quiet import Quiet


def sizes(directory: Path) -> dict[str, int]:
    """Return the bytes of each large file, by its SHA-256."""
    manifest = json.loads((directory / "manifest.json").read_bytes())
    return {e["sha256"]: e["bytes"] for n, e in manifest["files"].items() if n.endswith("parquet")}


def test_a_new_repository_holds_the_directory_and_its_tag(
    hub: Hub, planted: Path, reporter: Quiet
) -> None:
    page = publish(Publication(planted, NAME, tag="v1.0"), reporter)
    assert hub.files(NAME) == contents(planted)
    assert hub.files(NAME, "v1.0") == contents(planted)
    assert not hub.repos[NAME].private
    assert hub.received == sizes(planted)
    assert len(hub.repos[NAME].commits) == 2  # The Hub's own, and everything
    assert page == f"{hub.url}/datasets/{NAME} (v1.0, commit {hub.repos[NAME].head[:7]})"


def test_published_again_nothing_is_sent(hub: Hub, planted: Path, reporter: Quiet) -> None:
    publish(Publication(planted, NAME, tag="v1.0"), reporter)
    received, commits = hub.received.copy(), len(hub.repos[NAME].commits)
    publish(Publication(planted, NAME, tag="v1.0"), reporter)
    publish(Publication(planted, NAME), reporter)
    assert hub.received == received
    assert len(hub.repos[NAME].commits) == commits


def test_a_second_version_sends_what_changed_and_removes_what_is_gone(
    hub: Hub, planted: Path, changed: Path, reporter: Quiet
) -> None:
    publish(Publication(planted, NAME, tag="v1.0"), reporter)
    received = hub.received.copy()
    publish(Publication(changed, NAME, tag="v1.1"), reporter)
    assert hub.files(NAME) == contents(changed)
    assert hub.files(NAME, "v1.0") == contents(planted)
    assert hub.received - received == {
        sha: size for sha, size in sizes(changed).items() if sha not in sizes(planted)
    }


@pytest.mark.parametrize(
    ("gained", "configs"),
    [("segmented", ["segmentations"]), ("planted_whole", ["whole", "preview_whole"])],
)
def test_masks_that_are_added_later_are_sent_alone(
    hub: Hub,
    planted: Path,
    gained: str,
    configs: list[str],
    reporter: Quiet,
    request: pytest.FixtureRequest,
) -> None:
    later: Path = request.getfixturevalue(gained)
    publish(Publication(planted, NAME), reporter)
    received = hub.received.copy()
    publish(Publication(later, NAME), reporter)
    assert hub.files(NAME) == contents(later)
    masks = {path.stat().st_size for config in configs for path in (later / config).iterdir()}
    assert set((hub.received - received).values()) == masks
    publish(Publication(planted, NAME), reporter)
    assert hub.files(NAME) == contents(planted)


def test_what_others_put_there_stays(hub: Hub, planted: Path, reporter: Quiet) -> None:
    publish(Publication(planted, NAME), reporter)
    license_file = hub.repos[NAME].tree["README.md"]
    hub.repos[NAME].add({**hub.repos[NAME].tree, "LICENSE": license_file})
    publish(Publication(planted, NAME), reporter)
    assert set(hub.files(NAME)) == {*contents(planted), "LICENSE"}


def test_a_repository_of_something_else_is_refused(
    hub: Hub, planted: Path, reporter: Quiet
) -> None:
    publish(Publication(planted, "org/other"), reporter)
    tree = hub.repos["org/other"].tree
    hub.repos["org/other"].add({"README.md": tree["README.md"], "cats.csv": tree["manifest.json"]})
    before = hub.repos["org/other"].head
    with pytest.raises(BuildError, match=r"org/other holds something else, such as cats\.csv"):
        publish(Publication(planted, "org/other"), reporter)
    assert hub.repos["org/other"].head == before


def test_hidden_files_are_not_published(
    hub: Hub, planted: Path, tmp_path: Path, reporter: Quiet
) -> None:
    directory = tmp_path / "copy"
    shutil.copytree(planted, directory)
    for name in (".publish/train-00000-000.parquet", ".cache/huggingface/download", ".git/HEAD"):
        (directory / name).parent.mkdir(parents=True)
        (directory / name).write_bytes(b"of no concern")
    publish(Publication(directory, NAME), reporter)
    assert hub.files(NAME) == contents(planted)


def test_large_files_go_in_parts_where_the_hub_asks_for_them(
    hub: Hub, planted: Path, reporter: Quiet
) -> None:
    hub.multipart = 4000
    assert max(sizes(planted).values()) > 2 * hub.multipart
    publish(Publication(planted, NAME), reporter)
    assert hub.files(NAME) == contents(planted)
    assert hub.received == sizes(planted)


def test_in_chunks_as_the_hub_prefers_it(
    hub: Hub,
    planted: Path,
    changed: Path,
    reporter: Quiet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.chunks = tmp_path / "chunks"
    hub.chunks.mkdir()
    for directory in (planted, changed):
        publish(Publication(directory, NAME), reporter)
        assert hub.chunked >= set(sizes(directory))
        there = {path: (blob.sha256, blob.size) for path, blob in hub.repos[NAME].tree.items()}
        listed = json.loads((directory / "manifest.json").read_bytes())["files"]
        expected = {path: (file["sha256"], file["bytes"]) for path, file in listed.items()}
        assert {p: there[p] for p in expected} == expected
    assert not hub.received  # No file went whole
    stored = sum(p.stat().st_size for p in hub.chunks.rglob("xorbs/xorbs/default.*"))
    assert 0 < stored < sum({**sizes(planted), **sizes(changed)}.values()) * 1.1


# What a dry run tells


@pytest.mark.parametrize("token", [TOKEN, None])
def test_a_dry_run_lists_what_would_go(
    hub: Hub,
    planted: Path,
    changed: Path,
    reporter: Quiet,
    token: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish(Publication(planted, NAME), reporter)
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    before = hub.repos[NAME].head
    changes = plan_publication(Publication(changed, NAME), reporter)
    assert {part.name for part in changes.new} == {
        name
        for name, content in contents(changed).items()
        if contents(planted).get(name) != content
    }
    assert [part.name for part in changes.new][-2:] == ["README.md", "manifest.json"]
    assert set(changes.gone) == set(contents(planted)) - set(contents(changed))
    assert hub.repos[NAME].head == before


def test_a_dry_run_needs_neither_token_nor_repository(
    hub: Hub, planted: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    changes = plan_publication(Publication(planted, NAME), reporter)
    assert {part.name for part in changes.new} == set(contents(planted))
    assert changes.size == sum(map(len, contents(planted).values()))
    assert NAME not in hub.repos
    assert "not seen without a token" in reporter.lines[-1]


def test_a_dry_run_needs_no_hub(
    hub: Hub, planted: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    changes = plan_publication(Publication(planted, NAME), reporter)
    assert {part.name for part in changes.new} == set(contents(planted))
    assert "The Hub cannot be asked" in reporter.lines[-1]


# What is refused


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "org/salient_imagenet_1m",
            "give the repository a name with hyphens, such as org/salient-",
        ),
        ("org/helper", "takes a data set helper for one with a script helper.py"),
        ("org/data.py", "such as org/data"),
        ("salient-imagenet-1m", "Whose is salient-imagenet-1m"),
        ("org/bad--name", "The Hub takes no repository name 'org/bad--name'"),
        ("a/b/c", "The Hub takes no repository name 'a/b/c'"),
    ],
)
def test_a_name_that_would_not_load_is_refused(
    hub: Hub, planted: Path, tmp_path: Path, reporter: Quiet, name: str, sentence: str
) -> None:
    directory = tmp_path / "copy"
    shutil.copytree(planted, directory)
    (directory / "helper.py").write_text("")
    with pytest.raises(BuildError, match=sentence):
        publish(Publication(directory, name), reporter)
    assert not hub.requests


@pytest.mark.parametrize("tag", ["", "a b", "../x", "-v1"])
def test_a_bad_tag_is_refused(hub: Hub, planted: Path, reporter: Quiet, tag: str) -> None:
    with pytest.raises(BuildError, match="is no tag"):
        publish(Publication(planted, NAME, tag=tag), reporter)


def test_a_tag_of_another_version_is_refused_before_anything_is_sent(
    hub: Hub, planted: Path, changed: Path, reporter: Quiet
) -> None:
    publish(Publication(planted, NAME, tag="v1.0"), reporter)
    before = hub.repos[NAME].head
    for attempt in (publish, plan_publication):
        with pytest.raises(BuildError, match=r"The tag v1\.0 of .* names another version"):
            attempt(Publication(changed, NAME, tag="v1.0"), reporter)
    assert hub.repos[NAME].head == before
    assert hub.received == sizes(planted)


def test_a_directory_without_a_build_is_refused(hub: Hub, tmp_path: Path, reporter: Quiet) -> None:
    for directory in (tmp_path, tmp_path / "missing"):
        with pytest.raises(BuildError, match=r"holds no finished build, it has no manifest\.json"):
            publish(Publication(directory, NAME), reporter)


def test_a_url_is_refused(hub: Hub, reporter: Quiet) -> None:
    with pytest.raises(BuildError, match=r"memory://build is a URL, .*: download it first"):
        publish(Publication(parse_location("memory://build"), NAME), reporter)


def test_a_directory_that_another_command_is_at_work_in_is_left_alone(
    hub: Hub, planted: Path, tmp_path: Path, reporter: Quiet
) -> None:
    directory = shutil.copytree(planted, tmp_path / "copy")
    with (
        exclusive(directory),
        pytest.raises(BuildError, match="evaluation or publication is at work"),
    ):
        publish(Publication(directory, NAME), reporter)
    assert not hub.requests


def test_a_directory_that_is_not_what_it_says_is_refused(
    hub: Hub, planted: Path, tmp_path: Path, reporter: Quiet
) -> None:
    directory = tmp_path / "copy"
    shutil.copytree(planted, directory)
    path = next((directory / "masks").iterdir())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    for attempt in (publish, plan_publication):
        with pytest.raises(BuildError, match=f"is not what it says it is .*{path.name}"):
            attempt(Publication(directory, NAME), reporter)
    assert not hub.requests


def test_a_missing_token_is_a_sentence_that_says_where_to_get_one(
    hub: Hub, planted: Path, reporter: Quiet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(BuildError, match=r"no token .*https://huggingface.co/settings/tokens"):
        publish(Publication(planted, NAME), reporter)
    assert not hub.requests


@pytest.mark.parametrize(
    ("token", "sentence"),
    [
        ("hf_expired", r"The Hub does not accept the token \(401\)"),
        (READER, rf"The token may not write to {NAME} \(403\)"),
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_token_that_is_not_enough_is_refused_and_never_shown(
    hub: Hub,
    planted: Path,
    changed: Path,
    reporter: Quiet,
    token: str,
    sentence: str,
    exists: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    if exists:
        publish(Publication(planted, NAME), reporter)
    monkeypatch.setenv("HF_TOKEN", token)
    with caplog.at_level("DEBUG"), pytest.raises(BuildError, match=sentence) as caught:
        publish(Publication(changed, NAME), reporter)
    captured = capfd.readouterr()
    said = [str(caught.value), *reporter.lines, caplog.text, captured.out, captured.err]
    assert not any(token in text for text in said)


# Images


def test_images_go_to_a_private_repository_byte_by_byte(
    hub: Hub, planted: Path, world: World, reporter: Quiet
) -> None:
    publish(Publication(planted, NAME, private=True, images=str(world.root)), reporter)
    assert hub.repos[NAME].private
    assert any("ImageNet's terms" in line for line in reporter.lines)
    files = hub.files(NAME)
    masks = {
        row["image_id"]: row["label"]
        for row in pq.read_table(planted / "masks", columns=["image_id", "label"]).to_pylist()
    }
    for split, folder in (("train", "train"), ("validation", "val")):
        originals = {path.stem: path.read_bytes() for path in (world.root / folder).glob("*/*")}
        rows = [
            row
            for name, content in sorted(files.items())
            if name.startswith(f"images/{split}-")
            for row in pq.read_table(pa.BufferReader(content)).to_pylist()
        ]
        assert {row["image_id"]: row["image"]["bytes"] for row in rows} == originals
        assert all(row["label"] == masks[row["image_id"]] for row in rows)
        assert all(Path(row["image"]["path"]).stem == row["image_id"] for row in rows)
    manifest = json.loads(files["manifest.json"])
    assert set(manifest["files"]) == set(files) - {"manifest.json"}
    text = files["README.md"].decode()
    assert "in this repository" in (planted / "README.md").read_text()
    assert "in this repository" not in text
    assert text.count("private copy holds") == 3
    card = yaml.safe_load(text.split("---\n")[1])
    assert "images" in [config["config_name"] for config in card["configs"]]
    # The directory itself stays without.
    assert not list(planted.glob("images")) + list(planted.glob(".publish"))


@pytest.mark.parametrize("images", [True, False])
def test_a_downloaded_copy_verifies(
    hub: Hub, planted: Path, world: World, tmp_path: Path, reporter: Quiet, images: bool
) -> None:
    publish(Publication(planted, NAME, images, None, str(world.root) if images else None), reporter)
    copy = snapshot_download(
        NAME, repo_type="dataset", local_dir=tmp_path / "copy", cache_dir=tmp_path / "cache"
    )
    assert contents(Path(copy)).keys() >= hub.files(NAME).keys()
    assert [check for check in verify(Path(copy)) if not check.passed] == []


def test_images_that_became_public_are_not_published_to_again(
    hub: Hub, planted: Path, world: World, reporter: Quiet
) -> None:
    publish(Publication(planted, NAME, private=True, images=str(world.root)), reporter)
    hub.repos[NAME].private = False
    for attempt in (publish, plan_publication):
        with pytest.raises(BuildError, match=f"{NAME} is public and holds images, which"):
            attempt(Publication(planted, NAME), reporter)


def test_images_again_are_not_sent_again(
    hub: Hub, planted: Path, world: World, reporter: Quiet
) -> None:
    with_images = Publication(planted, NAME, private=True, images=str(world.root))
    publish(with_images, reporter)
    received, head = hub.received.copy(), hub.repos[NAME].head
    changes = plan_publication(with_images, reporter)
    assert changes.gone == []
    assert "Images are not listed here" in " ".join(reporter.lines)
    publish(with_images, reporter)
    assert (hub.received, hub.repos[NAME].head) == (received, head)


def test_left_out_again_images_go(hub: Hub, planted: Path, world: World, reporter: Quiet) -> None:
    publish(Publication(planted, NAME, private=True, images=str(world.root)), reporter)
    publish(Publication(planted, NAME), reporter)
    assert hub.files(NAME) == contents(planted)


def test_images_without_private_are_refused(
    hub: Hub, planted: Path, world: World, reporter: Quiet
) -> None:
    with pytest.raises(BuildError, match="--with-images works only with --private"):
        publish(Publication(planted, NAME, images=str(world.root)), reporter)
    assert not hub.requests


@pytest.mark.parametrize("images", [True, False])
def test_a_repository_that_is_public_takes_nothing_private(
    hub: Hub, planted: Path, world: World, reporter: Quiet, images: bool
) -> None:
    publish(Publication(planted, NAME), reporter)
    received = hub.received.copy()
    wanted = Publication(planted, NAME, private=True, images=str(world.root) if images else None)
    for attempt in (publish, plan_publication):
        with pytest.raises(BuildError, match=f"{NAME} exists already and is public"):
            attempt(wanted, reporter)
    assert hub.received == received


def test_a_missing_image_is_named(
    hub: Hub, planted: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    images = tmp_path / "images"
    shutil.copytree(world.root, images)
    path = sorted((images / "train").glob("*/*"))[5]
    path.unlink()
    with pytest.raises(BuildError, match=f"{path.stem}"):
        publish(Publication(planted, NAME, private=True, images=str(images)), reporter)


def test_a_build_of_an_older_version_s_pages_is_published_with_images(
    hub: Hub, planted: Path, world: World, tmp_path: Path, reporter: Quiet
) -> None:
    directory = shutil.copytree(planted, tmp_path / "older")
    card = directory / "README.md"
    card.write_text(card.read_text().replace("No image is in this repository", "It has no image"))
    manifest = Manifest.load(directory)
    assert manifest
    manifest.pages = "a1" * 32
    manifest.record(directory, ["README.md"])
    (directory / "manifest.json").write_bytes(manifest.as_bytes())
    publish(Publication(directory, NAME, private=True, images=str(world.root)), reporter)
    text = hub.files(NAME)["README.md"].decode()
    assert "It has no image" not in text
    assert text.count("private copy holds") == 3
    copy = snapshot_download(
        NAME, repo_type="dataset", local_dir=tmp_path / "copy", cache_dir=tmp_path / "cache"
    )
    assert [check for check in verify(Path(copy)) if not check.passed] == []
