{{ staged("offences", kind="registry") }}
