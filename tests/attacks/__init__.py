"""Attacks: kills, full disks, hostile and damaged files, several processes at once. See ``attacker.py``."""
