"""Controllers that a policy is held against: all but the bounds know the cars ahead by radio alone.

A new one derives from `protocol.Follower`, which has what `protocol.Controller` asks for, and
writes `law` where it keeps a gap to the car in front, or `act`. With a line in `registry.LAWS`,
`--controllers NAME` drives it, "truth:NAME" gives it perfect knowledge and "off:NAME" takes its
radio away. Its docstring names its source and gives its parameters with units. `estimator.estimate`
tells it where the peers are by now.
"""
