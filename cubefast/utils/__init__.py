"""Helpers for all rooms: files that are whole or not there, text for people, and checks of arrays and YAML."""
