"""What an app.toml may ask of the operator, and how it says so."""

import pytest

from appliance.asks import FolderAsk
from appliance.errors import BadManifest
from appliance.manifests import parse_app_manifest


def test_a_folder_is_to_read_unless_said_otherwise() -> None:
    """Its name alone, or a table."""
    text = b'[folders]\n"/a/b" = "photos"\n"/c" = { name = "results", write = true }'
    manifest = parse_app_manifest(text, default_name="cat")

    assert {"/a/b": FolderAsk(name="photos"), "/c": FolderAsk(name="results", write=True)} == (
        manifest.folders
    )
    assert not manifest.folders["/a/b"].write


def test_what_is_not_said_is_left_to_the_policy() -> None:
    """No folder, no variable, and neither yes nor no to the rest."""
    manifest = parse_app_manifest(b"", default_name="cat")

    assert ({}, ()) == (manifest.folders, manifest.env_from)
    assert {None} == {manifest.wasi.clock, manifest.wasi.random, manifest.nn.own_models}


@pytest.mark.parametrize(
    "path",
    ["", "/", "photos", "//photos", "/photos/", "/a/../b", "/./a", "/a\\\\b", "/a\\nb", "/frame",
     "/frame/x", "/" + "a" * 200],
    ids=["empty", "root", "relative", "two slashes", "slash at the end", "dots", "dot",
         "backslash", "newline", "the frame's", "in the frame's", "long"],
)  # fmt: skip
def test_a_path_is_absolute_and_plain(path: str) -> None:
    """As the guest sees it; where frames are is the box's."""
    with pytest.raises(BadManifest, match=r"(?s)app\.toml: folders\..*wanted a"):
        parse_app_manifest(f'[folders]\n"{path}" = "photos"'.encode(), default_name="cat")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param('folders."/a" = "../x"', "wanted a name of 1..63", id="folder"),
        pytest.param('folders."/a" = { name = "x", wrte = true }', "did you mean", id="key"),
        pytest.param('env_from = ["A=B"]', "env_from", id="variable"),
        pytest.param("wasi.clok = true", "did you mean clock", id="wasi"),
        pytest.param("nn.own_model = true", "did you mean own_models", id="nn"),
    ],
)
def test_a_mistake_is_named(text: str, sentence: str) -> None:
    """With the key, as everywhere in a manifest."""
    with pytest.raises(BadManifest, match=sentence):
        parse_app_manifest(text.encode(), default_name="cat")
