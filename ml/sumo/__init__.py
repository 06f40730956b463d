"""The simulator room: one SUMO process carries every convoy of the batch."""
