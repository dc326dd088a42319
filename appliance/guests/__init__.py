"""Running guests: compile, recognise, instantiate, call, end.

    aot --> engine --> program --> command | reactor        (one runner per mode)
     |                                 |
    compiling --> compiler         instance --> frames      (what a guest may ask about a frame)
    (in a child)

A guest is code nobody reviewed. Whatever it does ends as an answer or as `GuestFailed` with a
reason; the box goes on.
"""
