"""Every setting: what it is called, its default, its bounds, and how it is read, overridden and refused."""
