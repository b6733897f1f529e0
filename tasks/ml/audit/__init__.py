"""Does the label reach the text by any other way than the findings?"""
