"""The commands. They show values and ask questions; they decide nothing."""
