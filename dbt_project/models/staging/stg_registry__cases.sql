{{ staged("cases", kind="registry") }}
