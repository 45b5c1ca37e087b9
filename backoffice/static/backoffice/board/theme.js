// Colours: the system's, or those that were chosen here or in the admin, which keeps its choice in the same place.
(function () {
  "use strict";
  var KEY = "adminTheme";
  window.boardTheme = {
    read: function () {
      try {
        var kept = JSON.parse(localStorage.getItem(KEY));
        return kept === "light" || kept === "dark" ? kept : "auto";
      } catch (error) {
        return "auto";
      }
    },
    choose: function (theme) {
      try {
        localStorage.setItem(KEY, JSON.stringify(theme));
      } catch (error) {
        // A browser without storage keeps the choice for this page.
      }
      window.boardTheme.apply(theme);
    },
    apply: function (theme) {
      if (theme === "auto") {
        delete document.documentElement.dataset.theme;
      } else {
        document.documentElement.dataset.theme = theme;
      }
    },
  };
  window.boardTheme.apply(window.boardTheme.read());
})();
