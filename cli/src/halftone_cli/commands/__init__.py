"""The commands, one module a subject. Each function reads its options and calls one thing."""
