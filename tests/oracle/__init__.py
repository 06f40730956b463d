"""A radio to judge the compiled one by: events on a heap, one at a time, in plain Python.

It was written from the rules of the radio alone, never from the compiled loops, and shares with
them the draws (`ml.keyed_random`) and the parameters. It is slow and means to be read: `radio`
runs the events, `links` says who hears whom, `table` keeps what a receiver holds.
"""
