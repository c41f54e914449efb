"""What every room needs and none owns: files that are whole or not there, text for people, checks of foreign input."""
