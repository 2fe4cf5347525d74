"""Text: words of sentences, CSV fields, what is shown of names, nearest spellings."""
