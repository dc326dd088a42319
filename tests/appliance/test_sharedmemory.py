import os
from pathlib import Path

import pytest

from appliance.errors import ApplianceError, BadRequest, Conflict, NotFound, Unsupported
from appliance.oip.messages import SharedSlice
from appliance.sharedmemory import MAX_REGIONS, Region, SharedRegions


@pytest.fixture
def regions(tmp_path: Path) -> SharedRegions:
    """Regions over a folder in which the object `io` has the bytes 0 to 15."""
    (tmp_path / "io").write_bytes(bytes(range(16)))
    return SharedRegions(is_enabled=True, folder=tmp_path)


def region(name: str = "r", key: str = "/io", offset: int = 0, byte_size: int = 16) -> Region:
    return Region(name, key, offset, byte_size)


def test_a_slice_is_read_and_written_where_it_lies(regions: SharedRegions, tmp_path: Path) -> None:
    """Offsets add up: of the region in the object, and of the slice in the region."""
    regions.register(region(offset=4, byte_size=8))
    held = regions.hold(SharedSlice("r", 2, 4))

    assert bytes([6, 7, 8, 9]) == held.read().tobytes()
    assert SharedSlice("r", 2, 3) == held.write(b"abc")
    assert bytes(range(6)) + b"abc" + bytes(range(9, 16)) == (tmp_path / "io").read_bytes()
    held.close()


@pytest.mark.parametrize(
    "slice",
    [
        pytest.param(SharedSlice("r", 0, 9), id="too long"),
        pytest.param(SharedSlice("r", 8, 1), id="behind the end"),
        pytest.param(SharedSlice("r", -1, 2), id="before the beginning"),
        pytest.param(SharedSlice("r", 0, -1), id="negative"),
        pytest.param(SharedSlice("r", 2**64, 1), id="enormous"),
    ],
)
def test_a_slice_stays_in_its_region(regions: SharedRegions, slice: SharedSlice) -> None:
    """The rest of the object was not offered."""
    regions.register(region(byte_size=8))

    with pytest.raises(BadRequest, match="the region has 8 bytes"):
        regions.hold(slice)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        pytest.param(region(key="/../etc/passwd"), "wanted a name as shm_open", id="path"),
        pytest.param(region(key=".."), "wanted a name as shm_open", id="dots"),
        pytest.param(region(key="//io"), "wanted a name as shm_open", id="two slashes"),
        pytest.param(region(key=""), "wanted a name as shm_open", id="empty"),
        pytest.param(region(key="a\0b"), "wanted a name as shm_open", id="NUL"),
        pytest.param(region(key="x" * 256), "wanted a name as shm_open", id="long"),
        pytest.param(region(key="\ud800"), "cannot be opened", id="no Unicode"),
        pytest.param(region(key="/nothing"), "cannot be opened: No such file", id="not there"),
        pytest.param(region(key="/link"), "cannot be opened", id="symlink"),
        pytest.param(region(key="/folder"), "cannot be opened", id="folder"),
        pytest.param(region(byte_size=17), "has 16 bytes, got offset 0", id="too long"),
        pytest.param(region(offset=-1, byte_size=2), "got offset -1", id="negative"),
        pytest.param(region(offset=16, byte_size=1), "got offset 16", id="behind the end"),
        pytest.param(region(byte_size=0), "byte_size 0", id="nothing"),
        pytest.param(region(name=""), "wanted a name of 1..255", id="no name"),
        pytest.param(region(name="n" * 256), "wanted a name of 1..255", id="long name"),
    ],
)
def test_what_cannot_be_a_region_is_refused(
    regions: SharedRegions, tmp_path: Path, wanted: Region, words: str
) -> None:
    """A name is a name: nothing outside the system's folder is ever opened."""
    (tmp_path / "link").symlink_to(tmp_path / "io")
    (tmp_path / "folder").mkdir()
    before = os.listdir("/proc/self/fd")

    with pytest.raises(ApplianceError) as caught:
        regions.register(wanted)
    assert words in str(caught.value)
    assert str(tmp_path) not in str(caught.value)
    assert len(before) == len(os.listdir("/proc/self/fd"))


def test_an_object_that_has_shrunk_is_refused(regions: SharedRegions, tmp_path: Path) -> None:
    """Reading does not end the process, and writing does not grow it again."""
    regions.register(region())
    held = regions.hold(SharedSlice("r", 0, 16))
    os.truncate(tmp_path / "io", 4)

    with pytest.raises(BadRequest, match="has become smaller"):
        held.read()
    with pytest.raises(BadRequest, match="has become smaller"):
        held.write(bytes(16))
    assert 4 == (tmp_path / "io").stat().st_size
    held.close()


def test_more_than_there_is_room_for_is_not_written(regions: SharedRegions) -> None:
    """Not even in part."""
    regions.register(region())
    held = regions.hold(SharedSlice("r", 0, 2))

    with pytest.raises(BadRequest, match="has 3 bytes, there is room for 2"):
        held.write(b"abc")
    assert b"\0\1" == held.read().tobytes()
    held.close()


def test_what_is_held_outlives_its_region(regions: SharedRegions) -> None:
    """A request under way is finished with the memory it began with."""
    regions.register(region())
    held = regions.hold(SharedSlice("r", 0, 4))
    regions.unregister("r")

    assert bytes(range(4)) == held.read().tobytes()
    held.close()
    with pytest.raises(NotFound, match="no such region"):
        regions.hold(SharedSlice("r", 0, 4))


def test_nothing_stays_open(regions: SharedRegions) -> None:
    """Every descriptor is closed with its last holder."""
    before = len(os.listdir("/proc/self/fd"))
    regions.register(region("a"))
    regions.register(region("b"))
    held = regions.hold(SharedSlice("a", 0, 4))
    regions.unregister()
    held.close()
    held.close()

    assert before == len(os.listdir("/proc/self/fd"))


def test_a_name_is_taken_once(regions: SharedRegions) -> None:
    """It would change under requests that are under way."""
    regions.register(region())

    with pytest.raises(Conflict, match="is registered already; unregister first"):
        regions.register(region(offset=2, byte_size=2))
    assert (region(),) == regions.status() == regions.status("r")


def test_regions_are_bounded(regions: SharedRegions) -> None:
    """Each costs a descriptor."""
    for number in range(MAX_REGIONS):
        regions.register(region(str(number)))

    with pytest.raises(Conflict, match="256 are registered"):
        regions.register(region("one more"))
    regions.close()


def test_unregistering_what_is_not_there_is_no_error(regions: SharedRegions) -> None:
    """Clients begin by it; asking for it is another thing."""
    regions.unregister("nothing")

    with pytest.raises(NotFound, match="no such region"):
        regions.status("nothing")


def test_switched_off_nothing_is_opened(tmp_path: Path) -> None:
    """And whoever asks is told how to switch it on."""
    (tmp_path / "io").write_bytes(bytes(16))
    off = SharedRegions(is_enabled=False, folder=tmp_path)
    off.unregister()

    with pytest.raises(Unsupported, match="shared_memory = true"):
        off.register(region())
    with pytest.raises(Unsupported, match="shared_memory = true"):
        off.hold(SharedSlice("r", 0, 1))
    assert () == off.status()
