"""A new version is tried in a process that is thrown away, before anybody depends on it.

    box                                            throw-away process, one a trial
    Trials.app    -- manifest, code, picture -->   instantiate, show the picture
    Trials.model  -- folder ------------------>    load each encoding, show the sample
                  <-- stages, then what came out or why not

Whatever a guest or a native runtime does over there - crash, hang, eat memory - ends that process
and refuses the version with the reason. It is a fresh interpreter, bounded, and dies with the box.
"""
