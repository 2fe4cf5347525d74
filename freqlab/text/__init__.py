"""Text: wording of sentences, CSV fields, display of names, nearest spellings."""
