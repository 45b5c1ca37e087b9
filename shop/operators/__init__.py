"""What operators' pages share: forms, actions that act once, list searches and filters, pausing, sign-in.

The admin modules of the apps and the back office import it; the domain never does.
"""
