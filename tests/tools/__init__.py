"""Programs about the tests: which wrong code they notice, what they run of each module, on which Pythons they pass."""
