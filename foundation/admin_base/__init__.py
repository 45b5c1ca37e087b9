"""What operators' pages share: base classes, forms, actions that act once, lists, uploads.

The admin modules of the apps and the back office import it; the domain never does.
"""
