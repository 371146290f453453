"""What scripts/bench measures, a module for each of its subcommands, and what they share."""
