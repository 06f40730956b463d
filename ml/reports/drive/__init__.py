"""The page of a judged drive."""
