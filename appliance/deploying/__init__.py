"""What a deploy is made of; `appliance.deploy` puts it together.

stages      what a deploy goes through, as a value
probation   whether a new version stays: pure, of what became of its first frames
watch       counts these frames
journal     every deploy on disk, and what became of it; `lines` of it
attempts    one deploy under way: on record from its receipt to its end
bringing    from a bundle to a version that could answer
front       what answers for each app; also what does after a failed probation (`fallback`)
starting    the start of the box: what was interrupted is closed, what was live comes up
turns       one change of an app at a time, without keeping other apps waiting
chores      what a frame's thread leaves to another
"""
