"""Whom the box trusts with what.

    grants    what an app may do: what its manifest asks and the operator's policy grants
    keys      Ed25519 keys, and which ones are trusted
    signing   signatures of apps
    gate      both, asked before anything of an app is used

Nothing in here is reached by a request: policy and keys are files of the operator's.
"""
