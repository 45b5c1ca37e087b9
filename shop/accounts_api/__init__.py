"""The API's account endpoints: register, sign in, refresh, sign out."""
