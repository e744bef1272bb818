"""What the real Feast feature server answered, asked again of ours."""
