"""RoadSense: a driving policy for the last car of a convoy, known only through a lossy radio."""

__version__ = "0.1.0"
