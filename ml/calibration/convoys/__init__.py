"""Recorded convoys: how fast each car drove and how far it was behind the next one."""
