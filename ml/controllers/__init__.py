"""Controllers that a policy is held against: all but the bounds know the cars ahead by radio alone.

A new one is a class with the attributes and the two methods of `protocol.Controller` (one that
keeps a gap to the car in front derives from `protocol.Follower` and writes `law` alone), and a line
in `registry.LAWS`, after which `--controllers NAME` drives it, "truth:NAME" gives it perfect
knowledge and "off:NAME" takes its radio away. Its docstring names its source and gives its
parameters with units. `estimator.estimate` tells it where the peers are by now.
"""
