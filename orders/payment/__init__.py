"""The sagas that move money: purchase, top-up and refund, their charge step, status and gateway events."""
