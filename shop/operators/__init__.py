"""What the operators' pages of all apps share: forms, actions that act once, lists, pausing and sign-in.

The admin modules of the apps and the back office import it; the domain never does.
"""
