"""What things are: pure rules (`domain`) and the tables that remember them (`tables`)."""
