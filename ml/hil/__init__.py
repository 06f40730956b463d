"""A board in the loop: SUMO drives, a board decides, tick by tick, over one protocol."""
