"""From facts to a verdict: the rules, and their explanation for a person. Fetches nothing, knows no protocol."""
