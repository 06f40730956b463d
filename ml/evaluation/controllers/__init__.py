"""Controllers that a policy is held against: all but the bounds know the cars ahead by radio alone.

A new one is one small class (see `Controller` in `protocol`) and one line in `registry`.
"""
