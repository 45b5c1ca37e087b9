"""The campaign `releases`: the previous release beside this one, migrated and replaced under load."""
