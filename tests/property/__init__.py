"""Properties, checked against a second opinion on inputs that nobody thought of."""
