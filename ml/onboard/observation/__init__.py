"""The observation: what it holds, and how it is filled."""
