"""Routing: which camera's frames are shown to which app, and how often.

    camera --> pair (a thread: newest frame, rate, region) --> pipeline --> prediction
           `-> pair ...                                           one decode, many apps

Who feeds whom: a camera that was given a list of apps feeds exactly those. A camera without one
feeds every app whose manifest wants it: `cameras` not said means all, a list means those, and ()
only what clients push, by a push camera or to the app itself.

Rules:
1. Latest wins: a pair takes the newest frame when it is free, and counts those it never saw.
   Nothing queues.
2. Fair: a pair has one frame under way, and the instances of an app serve the cameras in turn
   (`guests.line`). The scheduler serves one owner's computes in the order they came.
3. A frame is borrowed, not copied, and regions are views; where a camera feeds more apps than it
   has memory to lend, each copies what it looks at.
"""
