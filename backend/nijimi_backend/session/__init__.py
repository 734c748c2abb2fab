"""What one client sent enters; what to render next, and the frames to send back, leave."""
