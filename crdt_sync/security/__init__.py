"""Who a device is and how two devices prove it to each other."""
