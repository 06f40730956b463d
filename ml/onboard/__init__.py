"""What an ESP32 in the ego could compute: hear, remember, predict, bound, observe, command."""
