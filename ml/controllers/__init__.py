"""Controllers that a policy is held against: all but the bounds know the cars ahead by radio alone.

A new one is a class with the attributes and the two methods of `protocol.Controller` (a follower
without a memory derives from `protocol.Stateless` and writes `act` alone), and a line in
`registry.ENTRIES`, after which `--controllers NAME` drives it, "truth:NAME" gives it perfect
knowledge and "off:NAME" takes its radio away. Its docstring names its source and gives its
parameters with units. `estimator.estimate` tells it where the peers are by now.
"""
