"""A process that writes frames into a ring as fast as it can; its own, as a worker is.

Arguments: file descriptors (slots, then the three pipe ends), and how many frames. Every byte of a
frame is made of its number, and sizes vary, so that a torn frame shows.
"""

import sys

from appliance.cameras.ring import RingWriter, Token, WriterEnds

SIZES_WH = ((64, 48), (320, 240), (640, 360))


def main() -> None:
    """Write frames 0, 1, 2, ... and say how many unread ones were overwritten."""
    *fds, count = (int(argument) for argument in sys.argv[1:])
    writer = RingWriter(WriterEnds(tuple(fds[:-3]), *fds[-3:]))
    busy = 0
    for number in range(count):
        width, height = SIZES_WH[number // 50 % len(SIZES_WH)]
        slot = writer.slot(width, height)
        if slot is None:
            busy += 1
            continue
        slot[:] = number % 251
        writer.publish(
            lambda place, number=number, width=width, height=height: Token(
                place, number, 0, 0, width, height, number % 251
            )
        )
    sys.stdout.write(f"{writer.overwritten} {busy}\n")


main()
