"""Cases of `load_by_name` and `load_by_name_with_config`."""

from tests.wasi_nn.conformance.dialects import ALL, ME, WE
from tests.wasi_nn.conformance.nets import EVERY
from tests.wasi_nn.conformance.table import Rig, case, cases_of

CONFIG = (WE, ME)
U32_MAX = 0xFFFFFFFF


@case("5.1 openvino_named", ALL, EVERY)
def name_known(rig: Rig) -> None:
    """A named model loads and computes."""
    rig.gives_twice_plus_one(rig.name(b"scale"))


@case("1.5")
def name_unknown(rig: Rig) -> None:
    """A name that nobody registered is not found (wasmtime: 6); a path is just such a name."""
    for name in (b"nothing", b"", b"scal", b"SCALE", b"/etc/passwd", b"../scale", b"scale:9"):
        rig.name(name, errno=8)


@case("5.4")
def name_twice(rig: Rig) -> None:
    """The same name gives the same handle, another name another."""
    rig.equal("first", 0, rig.name(b"scale"))
    rig.equal("again", 0, rig.name(b"scale"))
    rig.equal("other", 1, rig.name(b"two"))
    rig.equal("loads", 2, rig.registry.statistics().loads)


@case("5.2 (23)")
def name_outside(rig: Rig) -> None:
    """A name that is not all in memory is refused."""
    out = rig.room(4)
    for pointer in rig.outside(5):
        rig.call("load_by_name", pointer, 5, out, errno=1)
    for pointer, length in ((0, U32_MAX), (64, U32_MAX - 63), (0x80000000, 0x80000000)):
        rig.call("load_by_name", pointer, length, out, errno=1)


@case("5.2 (23)")
def name_empty_outside(rig: Rig) -> None:
    """No bytes at 0xFFFFFFFF are outside, too; at the very end of memory they are a name."""
    rig.call("load_by_name", U32_MAX, 0, rig.room(4), errno=1)
    rig.call("load_by_name", rig.size, 0, rig.room(4), errno=8)


@case("5.4")
def name_out_pointer_outside(rig: Rig) -> None:
    """A handle that cannot be stored is refused before anything is loaded."""
    name = rig.put(b"scale")
    for out in rig.outside():
        rig.call("load_by_name", name, 5, out, errno=1)
    rig.equal("loads", 0, rig.registry.statistics().loads)


@case("5.4")
def name_not_utf8(rig: Rig) -> None:
    """Bytes that are not UTF-8 are no name (wasmtime panics, WasmEdge says 8)."""
    for name in (b"\xff\xfe", b"scale\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"):
        rig.name(name, errno=1)


@case("5.4")
def name_with_nul(rig: Rig) -> None:
    """A NUL inside is refused; one at the end, which C guests count in, is dropped."""
    for name in (b"sca\0le", b"\0scale", b"scale\0\0"):
        rig.name(name, errno=1)
    rig.equal("graph", 0, rig.name(b"scale\0"))


@case("1.2")
def name_followed_by_more(rig: Rig) -> None:
    """The length ends the name, whatever stands behind it."""
    out = rig.room(4)
    rig.call("load_by_name", rig.put(b"scale-2\0"), 5, out)
    rig.equal("graph", 0, rig.u32(out))


@case("5.4")
def name_too_long(rig: Rig) -> None:
    """A name of more than 1024 bytes is no name."""
    rig.name(b"n" * 1025, errno=1)
    rig.name(b"n" * 1024, errno=8)


@case("5.4")
def name_under_its_out_pointer(rig: Rig) -> None:
    """The handle may be stored over the name."""
    name = rig.put(b"scale")
    rig.call("load_by_name", name, 5, name)

    rig.equal("graph", 0, rig.u32(name))


@case("1.5")
def name_more_than_the_limit(rig: Rig) -> None:
    """Named graphs count against the limit like others; a known name still answers."""
    rig.name(b"scale")
    for _ in range(rig.session.limits.graphs - 1):
        rig.load()
    rig.name(b"two", errno=4)
    rig.equal("known", 0, rig.name(b"scale"))


@case("5.2 (20)")
def name_in_many_guests(rig: Rig) -> None:
    """Guests that name one model share one graph, each under its own handle 0."""
    others = [rig.another() for _ in range(4)]
    for each in (rig, *others):
        rig.equal("graph", 0, each.name(b"scale"))
    rig.equal("loads", 1, rig.registry.statistics().loads)
    rig.equal("holders", 5, rig.registry.statistics().graphs[0].references)
    for each in others:
        each.driver.guest.close()
    rig.equal("holders", 1, rig.registry.statistics().graphs[0].references)


@case("5.2 (20)", (WE,))
def name_after_unload(rig: Rig) -> None:
    """A name that was unloaded loads again under a new handle."""
    rig.equal("first", 0, rig.name(b"scale"))
    rig.call("unload", 0)
    rig.equal("second", 1, rig.name(b"scale"))
    rig.gives_twice_plus_one(1)


def configured(rig: Rig, config: bytes, *, errno: int = 0) -> int:
    """Load `scale` with a configuration. Returns: the handle."""
    out = rig.room(4)
    name, place = rig.put(b"scale"), rig.put(config)
    rig.call("load_by_name_with_config", name, 5, place, len(config), out, errno=errno)
    return rig.u32(out)


@case("1.6", CONFIG, EVERY)
def config_accepted(rig: Rig) -> None:
    """JSON with our keys counts, other keys are left alone: guests send dozens of theirs."""
    config = b'{"device": "CPU", "num_threads": 1, "n-gpu-layers": 35, "enable-log": true}'
    rig.gives_twice_plus_one(configured(rig, config))


@case("1.6", CONFIG)
def config_empty(rig: Rig) -> None:
    """An empty configuration is the same as none."""
    rig.equal("with", 0, configured(rig, b""))
    rig.equal("without", 0, rig.name(b"scale"))


@case("1.6", CONFIG)
def config_makes_another_graph(rig: Rig) -> None:
    """The same name with another configuration is another handle; the same pair is the same."""
    rig.equal("one thread", 0, configured(rig, b'{"num_threads": 1}'))
    rig.equal("two threads", 1, configured(rig, b'{"num_threads": 2}'))
    rig.equal("one thread", 0, configured(rig, b'{"num_threads": 1}'))


@case("1.5", CONFIG)
def config_no_json(rig: Rig) -> None:
    """What is no JSON object is refused with 2 (as WasmEdge refuses garbage metadata)."""
    for config in (b"{", b"[]", b"1", b"\xff\xff", b"null", b"[" * 5000, b'{"device": "cpu"} x'):
        configured(rig, config, errno=2)


@case("1.6", CONFIG)
def config_wrong_value(rig: Rig) -> None:
    """A key of ours with a value that means nothing is refused, not ignored."""
    for config in (
        b'{"device": "moon"}', b'{"device": 1}', b'{"num_threads": 0}', b'{"num_threads": true}',
        b'{"num_threads": 1e99}', b'{"backend": "magic"}', b'{"encoding": "zip"}',
        b'{"backend": {}}',
    ):  # fmt: skip
        configured(rig, config, errno=1)


@case("1.5", CONFIG)
def config_unable(rig: Rig) -> None:
    """A device or a form that is not here is unsupported."""
    configured(rig, b'{"device": "gpu"}', errno=6)
    configured(rig, b'{"encoding": "pytorch"}', errno=6)


@case("5.2 (23)", CONFIG)
def config_outside(rig: Rig) -> None:
    """A configuration that is not all in memory is refused, as is one of more than 64 KiB."""
    name, out = rig.put(b"scale"), rig.room(4)
    for pointer in rig.outside(2):
        rig.call("load_by_name_with_config", name, 5, pointer, 2, out, errno=1)
        rig.call("load_by_name_with_config", pointer, 5, name, 2, out, errno=1)
    rig.call("load_by_name_with_config", name, 5, U32_MAX, 0, out, errno=1)
    rig.call("load_by_name_with_config", U32_MAX, 0, name, 0, out, errno=1)
    rig.call("load_by_name_with_config", name, 5, 0, U32_MAX, out, errno=1)
    rig.call("load_by_name_with_config", name, 5, 0, 64 * 1024 + 1, out, errno=1)


CASES = cases_of(globals())
