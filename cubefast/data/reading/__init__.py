"""From a file of any format to dialogues: texts of questions and answers."""
