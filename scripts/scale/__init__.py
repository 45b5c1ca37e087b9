"""What lies past one primary: a simulation, what requests cost, and the SQL that other engines refuse."""
