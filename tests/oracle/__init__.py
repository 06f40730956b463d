"""A radio to judge the compiled one by: events on a heap, one at a time, in plain Python.

It was written from the rules of the radio alone, never from the compiled loops, and shares
with them nothing but the draws (`ml.keyed_random`) and the table of the fading. It is slow and
means to be read: `radio` runs the events, `links` says who hears whom, `parameters` names the
numbers, `table` keeps what a receiver holds.
"""
