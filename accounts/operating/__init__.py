"""What operators may do: pause, not for their own account, and some of it with another's approval."""
