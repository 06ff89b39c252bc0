"""What the benches share: the report, the machine, turns, watched programs, inputs and peers."""
